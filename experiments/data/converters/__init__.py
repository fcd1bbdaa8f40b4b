"""Annotations in the formats of PASCAL VOC, VisDrone and YOLO -> COCO's; images stay where they are."""
